"""Ledgerly, the example app."""
