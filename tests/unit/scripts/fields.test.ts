import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import "../../../src/server/app.ts"
import { fieldsWithoutEffect } from "../../../src/server/http/lenient.ts"

test("docs/fields.md lists exactly the fields that are accepted without effect", () => {
  const text = readFileSync("docs/fields.md", "utf8")
  const tables = text.slice(text.indexOf("## Accepted without effect"))
  const listed = [...tables.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name = ""]) => name)
  expect([...new Set(listed)].toSorted()).toEqual([...fieldsWithoutEffect.keys()].toSorted())
})
