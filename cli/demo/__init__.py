"""`wimz demo`: the whole of WIM-Z on one machine."""
