"""`make chaos`: orders flow into a real shop whose processes and servers are killed, frozen and flushed all the while.

At the end every order is looked up in every table and in the mail folder. See docs/chaos.md.
"""
