"""DNAL under a budget: gates learnt by gradient."""
