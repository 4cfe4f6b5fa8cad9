"""wattshed-collector: stores ticks, attributes every joule and answers questions about them."""
