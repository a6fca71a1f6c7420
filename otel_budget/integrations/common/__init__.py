"""What several integrations need: estimates, gated methods of clients, gated streams."""
