import { describe, expect, test } from "bun:test"
import { ChatTemplateError } from "../../../src/text/chat-errors.ts"
import type { ChatMessage } from "../../../src/text/chat-messages.ts"
import { ChatTemplate, chatTemplateFromMetadata, encodePrompt } from "../../../src/text/chat-template.ts"
import { build, tinyBpe } from "./support.ts"
import { CHATML, GEMMA, LLAMA3, MISTRAL, PHI3, QWEN_TOOLS, ZEPHYR } from "./templates.ts"

const system = { role: "system", content: "Be brief." }
const user = { role: "user", content: "Hi!" }
const assistant = { role: "assistant", content: " Hello. " }
const options = { bosToken: "<s>", eosToken: "</s>" }

const render = (source: string, messages: ChatMessage[], more = {}) =>
  new ChatTemplate(source, options).render({ messages, ...more })

function code(task: () => unknown): string {
  try {
    task()
  } catch (error) {
    if (error instanceof ChatTemplateError) return `${error.code}: ${error.message}`
    throw error
  }
  return "rendered"
}

describe("templates in the forms of well-known models", () => {
  test("chatml, with its default system prompt", () => {
    expect(render(CHATML, [user])).toBe(
      "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n",
    )
    expect(render(CHATML, [system, user, assistant, user], { addGenerationPrompt: false })).toBe(
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n Hello. <|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n",
    )
  })
  test("llama-3: headers, trimmed content, BOS from the template", () => {
    expect(render(LLAMA3, [system, user])).toBe(
      "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi!<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    )
  })
  test("llama-3: the date from strftime_now", () => {
    const source = `{{ "Today: " + strftime_now("%d %b %Y") }}`
    expect(render(source, [], { now: new Date(2026, 6, 4) })).toBe("Today: 04 Jul 2026")
  })
  test("mistral: [INST] around users, EOS after assistants, the system prompt in the first user's turn", () => {
    expect(render(MISTRAL, [system, user, assistant, user])).toBe(
      "<s>[INST] Be brief.\n\nHi! [/INST] Hello.</s>[INST] Hi! [/INST]",
    )
  })
  test("mistral: roles that do not alternate are refused", () => {
    expect(code(() => render(MISTRAL, [user, user]))).toMatch(/^raised: .*must alternate/)
  })
  test("zephyr", () => {
    expect(render(ZEPHYR, [system, user])).toBe("<|system|>\nBe brief.</s>\n<|user|>\nHi!</s>\n<|assistant|>\n")
  })
  test("phi-3", () => {
    expect(render(PHI3, [user])).toBe("<|user|>\nHi!<|end|>\n<|assistant|>\n")
  })
  test("gemma: the assistant is called model, a system message is refused", () => {
    expect(render(GEMMA, [user, assistant, user])).toBe(
      "<s><start_of_turn>user\nHi!<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n<start_of_turn>user\nHi!<end_of_turn>\n<start_of_turn>model\n",
    )
    expect(code(() => render(GEMMA, [system, user]))).toBe(
      "raised: the model's chat template rejects these messages: System role not supported",
    )
  })
})

describe("tools", () => {
  const tools = [{ type: "function", function: { name: "add", parameters: { type: "object" } } }]
  const call = { id: "1", type: "function", function: { name: "add", arguments: '{"a": 1, "b": "é"}' } }

  test("listed as JSON; calls with arguments as objects; results in the user's turn", () => {
    const messages: ChatMessage[] = [
      user,
      { role: "assistant", content: null, tool_calls: [call] },
      { role: "tool", tool_call_id: "1", content: "3" },
    ]
    expect(render(QWEN_TOOLS, messages, { tools })).toBe(
      `<|im_start|>system\n<tools>\n{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}\n</tools><|im_end|>\n` +
        `<|im_start|>user\nHi!<|im_end|>\n` +
        `<|im_start|>assistant\n<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "é"}}\n</tool_call><|im_end|>\n` +
        `<|im_start|>user\n<tool_response>\n3\n</tool_response><|im_end|>\n<|im_start|>assistant\n`,
    )
  })
  test("arguments that are not JSON stay text", () => {
    const broken = { ...call, function: { name: "add", arguments: "{a" } }
    expect(
      render("{{ messages[0].tool_calls[0].function.arguments }}", [{ role: "assistant", tool_calls: [broken] }]),
    ).toBe("{a")
  })
  test("without tools, `tools` is none", () => {
    expect(render("{{ tools is none }}", [user])).toBe("true")
    expect(render("{{ tools is none }}", [user], { tools: [] })).toBe("true")
  })
})

describe("content", () => {
  test("null and absent content are empty, text parts are joined, and all are strings", () => {
    const source = "{% for m in messages %}[{{ m.content is string }}{{ '|' + m.content }}]{% endfor %}"
    const parts = [
      { type: "text", text: "a" },
      { type: "text", text: "b" },
    ]
    expect(render(source, [{ role: "user", content: null }, { role: "user" }, { role: "user", content: parts }])).toBe(
      "[true|][true|][true|ab]",
    )
  })
  test("null fields are absent, other fields are passed on", () => {
    const source = "{{ messages[0].name is defined }} {{ messages[0].reasoning_content }}"
    expect(render(source, [{ role: "assistant", name: undefined, reasoning_content: "hm" }])).toBe("false hm")
  })
  test("extra variables reach the template, and cannot replace the conversation", () => {
    const extra = { enable_thinking: false, messages: [], bos_token: "x" }
    expect(render("{{ bos_token }}{{ enable_thinking }}{{ messages|length }}", [user], { extra })).toBe("<s>false1")
  })
  test("markup in content is data, not template", () => {
    expect(render(ZEPHYR, [{ role: "user", content: "{{ 1 + 1 }}{% raw %}" }])).toContain("{{ 1 + 1 }}{% raw %}")
  })
})

describe("from a model's metadata", () => {
  const tokenizer = build(tinyBpe([]))
  const from = (metadata: Record<string, unknown>, override?: string) =>
    chatTemplateFromMetadata((key) => metadata[key], tokenizer, override)

  test("BOS and EOS come from the vocabulary", () => {
    const template = from({ "tokenizer.chat_template": "{{ bos_token }}|{{ eos_token }}" })
    expect(template.render({ messages: [] })).toBe("<|begin|>|<|end|>")
  })
  test("a missing template is an error that names the remedy", () => {
    expect(code(() => from({}))).toMatch(/^missing: .*--chat-template/)
    expect(from({}, "{{ 'mine' }}").render({ messages: [] })).toBe("mine")
  })
  test("the override takes precedence over the file's template", () => {
    expect(from({ "tokenizer.chat_template": "file" }, "mine").render({ messages: [] })).toBe("mine")
  })
  test("named variants: tool_use for requests with tools, any other by its name", () => {
    const template = from({
      "tokenizer.chat_template": "main",
      "tokenizer.chat_templates": ["tool_use", "rag"],
      "tokenizer.chat_template.tool_use": "tools",
      "tokenizer.chat_template.rag": "rag",
    })
    expect(template.variants).toEqual(["default", "tool_use", "rag"])
    expect(template.render({ messages: [] })).toBe("main")
    expect(template.render({ messages: [], tools: [{}] })).toBe("tools")
    expect(template.render({ messages: [], tools: [{}], variant: "rag" })).toBe("rag")
    expect(code(() => template.render({ messages: [], variant: "none" }))).toMatch(/^missing: .*default, tool_use, rag/)
  })
})

describe("errors", () => {
  test("a template that does not parse is an error", () => {
    expect(code(() => render("{% if %}", [user]))).toMatch(/^syntax: /)
    expect(code(() => render("{% for m in messages %}", [user]))).toMatch(/^syntax: /)
  })
  test("a template that fails on the messages is an error", () => {
    expect(code(() => render("{{ messages[0].nothing.at_all() }}", [user]))).toMatch(/^failed: /)
  })
})

test("the markers of a prompt become tokens, with one BOS", () => {
  const tokenizer = build(tinyBpe(["H i"], { "tokenizer.ggml.add_bos_token": true }))
  const names = (prompt: string) => [...encodePrompt(tokenizer, prompt)].map((id) => tokenizer.piece(id))
  expect(names("Hi<|end|>")).toEqual(["<|begin|>", "Hi", "<|end|>"])
  expect(names("<|begin|>Hi")).toEqual(["<|begin|>", "Hi"])
})

describe("a message that is to be continued", () => {
  const continued = (source: string, content: string) =>
    new ChatTemplate(source, options).renderContinuation({ messages: [user, { role: "assistant", content }] })
  test("ends with its text, including trailing white space", () => {
    expect(continued(ZEPHYR, "Hel\n")).toBe("<|user|>\nHi!</s>\n<|assistant|>\nHel\n")
    // Llama's template trims the content of messages.
    expect(continued(LLAMA3, " Hel ")).toEndWith("<|start_header_id|>assistant<|end_header_id|>\n\nHel ")
  })
  test("is found after an earlier message with the same text", () => {
    expect(continued(PHI3, "Hi!")).toBe("<|user|>\nHi!<|end|>\n<|assistant|>\nHi!")
  })
  test("that the template does not print cannot be continued", () => {
    const source = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    expect(code(() => continued(source, "x"))).toMatch(/^failed: .*continued/)
  })
})

test("names in a template are found", () => {
  const template = new ChatTemplate("{% if enable_thinking is defined %}{% endif %}")
  expect(template.mentions("enable_thinking")).toBe(true)
  expect(template.mentions("thinking")).toBe(false)
  expect(template.mentions(".*")).toBe(false)
})
