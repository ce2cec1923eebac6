"""Fan-out, measured: one message to many connections, the kit's way against its peers', in one interleaved run."""
