from gevent.monkey import main

if __name__ == "__main__":
    main()
