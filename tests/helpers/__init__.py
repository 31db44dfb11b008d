"""What tests share: tiny models, recordings of tones, a stand-in for the Hub, scripts run as people run them."""
