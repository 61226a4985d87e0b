/**
 * What each client is asked to do, and how its answers are judged: the same as in ../python/checks.py. A client's file calls `run` with
 * some of the functions chat, stream, tools, structured and embeddings.
 */

export const { URL: url, KEY: key = "none", PROVIDER: provider } = process.env

export const CHAT = "Say hello in one word. <<say Hello there, friend.>>"
/** Longer, so that a stream has several pieces. */
export const STORY = "Tell a story about a lighthouse. <<say Once there was a lighthouse by the sea.>>"
export const WEATHER =
  'What is the weather in Paris? Use the tool. <<call get_weather {"city": "Paris"}>> <<say It is {result}>>'
export const CITY =
  'Describe the city of Paris as JSON. <<say {"name": "Paris", "population": 2102650, "capital": true}>>'
export const TEXTS = ["The cat sits on the mat.", "Stock prices fell sharply on Monday."]
const SUNNY = "22 degrees and sunny"

/** JSON schemas of the tool's arguments, and of a city. */
export const CITY_ARGUMENT = { type: "object", properties: { city: { type: "string" } }, required: ["city"] }
export const CITY_SCHEMA = {
  type: "object",
  properties: { name: { type: "string" }, population: { type: "integer" }, capital: { type: "boolean" } },
  required: ["name", "population", "capital"],
  additionalProperties: false,
}

const calls = []

/** The tool. */
export function weather({ city }) {
  calls.push(city)
  return SUNNY
}

function want(condition, reason, ...seen) {
  if (!condition) throw new Error([reason, ...seen.map((value) => JSON.stringify(value))].join(" "))
}

const JUDGES = {
  chat: (text) => want(typeof text === "string" && text.trim() !== "", "no text:", text),
  stream: (pieces) => want(pieces.filter(Boolean).length > 1, "too few pieces:", pieces),
  tools: (text) => {
    want(calls.length === 1 && calls[0] === "Paris", "calls:", calls)
    want(typeof text === "string" && text.includes(SUNNY), "the tool's result is not in the answer:", text)
  },
  structured: (result, model) => {
    const city = typeof result === "string" ? JSON.parse(result) : result
    const types = [typeof city.name, typeof city.population, typeof city.capital].join()
    want(types === "string,number,boolean", "got", city)
    if (model === "scripted") want(city.name === "Paris" && city.population === 2102650, "got", city)
  },
  embeddings: ([a, b]) => want(a.length > 8 && a.length === b.length && `${a}` !== `${b}`, "not two different vectors"),
}

/** Runs the features that the command line names, each with the model of its variable. Prints one line of JSON for each. */
export async function run(functions) {
  for (const [feature, judge] of Object.entries(JUDGES)) {
    if (functions[feature] === undefined || !process.argv.includes(feature)) continue
    calls.length = 0
    let line = { feature, ok: true }
    try {
      const model = process.env[`MODEL_${feature.toUpperCase()}`]
      const result = functions[feature](model)
      const pieces = []
      if (feature === "stream") for await (const piece of result) pieces.push(piece)
      judge(feature === "stream" ? pieces : await result, model)
    } catch (error) {
      if (process.env.TRACE) console.error(error)
      line = { feature, ok: false, reason: `${error.name}: ${error.message}` }
    }
    console.log(JSON.stringify(line))
  }
  process.exit(0)
}
