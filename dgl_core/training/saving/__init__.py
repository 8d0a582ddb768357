"""What stays of a run: its state while it goes on, its weights when it ends, and exports of them."""
