/** SmolLM2: all calls as a list between one pair of tags, `<tool_call>[{"name": …, "arguments": {…}}, …]</tool_call>`. */

import { callId, type ToolFormat, toolJson } from "./format.ts"
import { readTagged } from "./hermes.ts"

export const smollm: ToolFormat = {
  name: "smollm",
  marks: ["<tool_call>", "</tool_call>"],
  spelling: {
    trigger: "<tool_call>",
    open: "[",
    call: (name) => ({ begin: `{"name": ${JSON.stringify(name)}, "arguments": `, end: "}" }),
    separator: ", ",
    close: "]</tool_call>",
    empty: true,
  },
  read: readTagged,
  /** The prompt that the models were trained with (model card of SmolLM2-1.7B-Instruct). They do not follow other prompts. */
  prompt: (tools) =>
    [
      "You are an expert in composing functions. You are given a question and a set of possible functions. ",
      "Based on the question, you will need to make one or more function/tool calls to achieve the purpose. ",
      "If none of the functions can be used, point it out and refuse to answer. ",
      "If the given question lacks the parameters required by the function, also point it out.",
      "",
      "You have access to the following tools:",
      `<tools>${JSON.stringify(tools.map(toolJson))}</tools>`,
      "",
      "The output MUST strictly adhere to the following format, and NO other text MUST be included.",
      "The example format is as follows. Please make sure the parameter type is correct. If no function call is needed, please make the tool calls an empty list '[]'.",
      "<tool_call>[",
      '{"name": "func_name1", "arguments": {"argument1": "value1", "argument2": "value2"}},',
      "... (more tool calls as required)",
      "]</tool_call>",
    ].join("\n"),
  newId: callId,
}
