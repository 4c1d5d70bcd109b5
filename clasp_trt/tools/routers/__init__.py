"""Making routers: prompts are labelled, classifiers are brought into the form that the runtime reads."""
