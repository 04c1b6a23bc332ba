"""A host: the process that runs where the kernels are, and serves them to clients elsewhere.

It starts kernels or shares those that run, keeps a file of what it started so that its successor finds them again, and
on request does for the holders of its ticket what a manager does here.
"""
