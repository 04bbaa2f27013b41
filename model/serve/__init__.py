"""The model host: the OpenAI dialect over one of two engines. The only home of torch and OpenVINO."""
