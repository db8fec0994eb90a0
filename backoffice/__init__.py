"""Shared by all apps, and unknown to the engine: money, the identity of customers, and form fields for both.

It imports none of the apps.
"""
