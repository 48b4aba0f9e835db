"""Bookinfo, the sample application: four services and three versions of one of them.

Written after what its users know of it: paths, JSON fields, headers, texts that tests look for.
"""
