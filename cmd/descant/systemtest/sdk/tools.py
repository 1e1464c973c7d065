"""Has OpenAI's Python SDK, unchanged, call a tool: whole and streamed, and with the tool's answer."""
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
messages = [{"role": "user", "content": "What is the weather in Paris?"}]


def check(choice):
    assert choice.finish_reason == "tool_calls" and choice.message.content == "I look.", choice
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.function.name == "weather" and call.function.arguments == '{"city":"Paris"}', call
    return call


with client.chat.completions.stream(model="m", messages=messages, tools=tools) as stream:
    check(stream.get_final_completion().choices[0])
choice = client.chat.completions.create(model="m", messages=messages, tools=tools).choices[0]
call = check(choice)
messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}]
choice = client.chat.completions.create(model="m", messages=messages, tools=tools).choices[0]
assert choice.finish_reason == "stop" and choice.message.content == "It is 21 degrees" and not choice.message.tool_calls, choice
choice = client.chat.completions.create(model="m", messages=messages[:1], tools=tools, tool_choice="none").choices[0]
assert choice.finish_reason == "stop" and not choice.message.tool_calls, choice
