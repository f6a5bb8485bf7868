"""The official OpenAI SDK against `tollgate dev` and its built-in provider."""

import json
import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"], max_retries=0)

chat = client.chat.completions.create(model="demo-chat", messages=[{"role": "user", "content": "Hello!"}])
assert chat.choices[0].message.content, chat
assert chat.usage.model_extra["cost"] > 0, chat.usage

text = ""
stream = client.chat.completions.create(
    model="demo-chat", messages=[{"role": "user", "content": "Hello!"}], stream=True
)
for event in stream:
    text += event.choices[0].delta.content or ""
assert text == chat.choices[0].message.content, text

vectors = client.embeddings.create(model="demo-embed", input=["a", "b"])
assert len(vectors.data) == 2 and len(vectors.data[0].embedding) > 8

names = [model.id for model in client.models.list()]
assert "demo/demo-chat" in names, names
print(json.dumps({"ok": True}))
