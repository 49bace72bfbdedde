"""The wire contract: every message that crosses a boundary, typed once.

Validation, the OpenAPI and AsyncAPI documents and the web client's message table are all derived
from the structs in this package. It imports nothing else of the project.
"""
