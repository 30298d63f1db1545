"""Trusted zone: what comes from customers who consent to research."""
