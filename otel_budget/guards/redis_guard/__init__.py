"""A guard whose counts are in Redis, for budgets that many processes share."""
