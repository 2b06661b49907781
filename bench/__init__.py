"""The benchmark: `make bench`; docs/performance.md tells what it measures.

machine -> running -> measuring -> accepting, delivering and so on -> rows
                               \\-> compare

It imports nothing of the router, which runs in processes of its own: so the same code
measures any revision of it.
"""
