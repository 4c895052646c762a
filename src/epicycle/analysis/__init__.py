"""One module per question, one frozen result type each."""
