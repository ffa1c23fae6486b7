"""What tests are built of: servers, homes, libraries, programs. Not here: any test."""
