from gevent.monkey import main

main()
