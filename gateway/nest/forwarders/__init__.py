"""What gateways speak: one module per protocol; each gives `RadioFrame`s and takes `Downlink`s."""
