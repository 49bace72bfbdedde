"""The one link to the relay, with a durable outbox."""
