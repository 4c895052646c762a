"""The two papers as claims: statement, source, how to run it, how to grade it; the ledger."""
