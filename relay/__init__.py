"""The cloud relay: accounts, paired robots, and the messages between them."""
