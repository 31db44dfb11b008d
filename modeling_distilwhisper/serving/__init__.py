"""One model and the experts of many languages, behind OpenAI's audio API."""
