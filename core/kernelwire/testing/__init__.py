"""The conformance kit, and what tests of kernels and transports need. Imports no test framework."""
