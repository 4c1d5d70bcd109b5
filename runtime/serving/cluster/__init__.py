"""Servers on many devices behind one address, by Ray Serve: docs/deploying.md.

What is decided about a request is in modules that know no Ray: :mod:`affinity` says which replica had its pictures,
:mod:`relay` what is done when a replica is lost, :mod:`inside` asks a server within the process. :mod:`application` and
:mod:`routing` give these to Ray.
"""
