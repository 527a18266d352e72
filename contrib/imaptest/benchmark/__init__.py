"""What `run` and `bench` are made of: servers, imaptest, the load generator, tables and charts."""
