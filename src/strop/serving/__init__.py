"""What strop answers to others: a policy to their agents, a world to their clients."""
