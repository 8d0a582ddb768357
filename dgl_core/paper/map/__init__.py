"""Map where DGL helps: dials of the data against heads of the model, registered, trained, judged, forecast."""
