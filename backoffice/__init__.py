"""What all apps share and the engine has no word for: money, who a customer is, and form fields for both.

It stands below them all and imports none of them.
"""
