"""What a user writes: operations, their schema, context and resources."""
