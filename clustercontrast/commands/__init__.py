"""What can be called: prepare, train, test, report, sweep."""
