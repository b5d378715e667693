"""Stands in for setuptools while pip fetches a source distribution whose setup.py is Python 2."""
