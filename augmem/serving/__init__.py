"""A websocket server around `augmem.streaming`, its web page and its client."""
