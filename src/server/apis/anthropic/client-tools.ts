/** Tools of Anthropic's that the client runs: their types stand for schemas that its models know. Other models are told them. */

import type { Tool } from "../../chat/request.ts"

const text = (description: string) => ({ type: "string", description })
const path = text("Absolute path of the file or directory.")
const viewRange = {
  type: "array",
  items: { type: "integer" },
  description: "For view: the first and the last line to show, counted from 1; -1 is the last line of the file.",
}
const insertLine = {
  type: "integer",
  description: "For insert: the line after which the text goes; 0 is the beginning.",
}

const schemaOf = (properties: Record<string, object>, required: readonly string[]) => ({
  type: "object",
  properties,
  required,
})
const oneOf = (commands: readonly string[]) => ({ type: "string", enum: commands, description: "What to do." })

const BASH = {
  description: "Run a command in a bash session, whose state stays between calls.",
  parameters: schemaOf(
    {
      command: text("The command. Required unless the session is restarted."),
      restart: { type: "boolean", description: "true: restart the session." },
    },
    [],
  ),
}

/** @param inserted The field with the text to insert, which has another name in older versions. */
const editor = (commands: readonly string[], inserted: "new_str" | "insert_text") => ({
  description: "View, create and edit files.",
  parameters: schemaOf(
    {
      command: oneOf(commands),
      path,
      file_text: text("For create: the content of the file."),
      view_range: viewRange,
      old_str: text("For str_replace: the text to replace. It has to occur exactly once."),
      new_str: text(
        `For str_replace: the new text${inserted === "new_str" ? "; for insert: the text to insert" : ""}.`,
      ),
      insert_line: insertLine,
      ...(inserted === "insert_text" && { insert_text: text("For insert: the text to insert.") }),
    },
    ["command", "path"],
  ),
})
const EDITS = ["view", "create", "str_replace", "insert"]
const OLDER_EDITOR = editor([...EDITS, "undo_edit"], "new_str")

const MEMORY = {
  description: "Keep files in the directory /memories, which later conversations can read.",
  parameters: schemaOf(
    {
      command: oneOf([...EDITS, "delete", "rename"]),
      path,
      view_range: viewRange,
      file_text: text("For create: the content of the file."),
      old_str: text("For str_replace: the text to replace. It has to occur exactly once."),
      new_str: text("For str_replace: the new text."),
      insert_line: insertLine,
      insert_text: text("For insert: the text to insert."),
      old_path: text("For rename: the path until now."),
      new_path: text("For rename: the new path."),
    },
    ["command"],
  ),
}

/** The description and parameters of a tool of this type; `undefined`: the client does not run it, or its schema is not known. */
export function clientTool(type: string): Pick<Tool, "description" | "parameters"> | undefined {
  if (/^bash_\d{8}$/.test(type)) return BASH
  if (/^memory_\d{8}$/.test(type)) return MEMORY
  const [, date] = /^text_editor_(\d{8})$/.exec(type) ?? []
  if (date === undefined) return undefined
  return date < "20250429" ? OLDER_EDITOR : editor(EDITS, "insert_text")
}
