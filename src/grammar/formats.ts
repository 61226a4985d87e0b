/** `format`s of JSON Schema that are kept to, as regular expressions that are no wider than their specifications. */

const YEAR = "[0-9]{4}"
const LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
const DAY_28 = "(?:0[1-9]|1[0-9]|2[0-8])"
/** RFC 3339. */
const DATE = `(?:${YEAR}-(?:(?:0[13578]|1[02])-(?:${DAY_28}|29|30|31)|(?:0[469]|11)-(?:${DAY_28}|29|30)|02-${DAY_28})|${LEAP_YEAR}-02-29)`
const TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:0[0-9]|1[0-9]|2[0-3]):[0-5][0-9])"
const BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
const HEX = "[0-9a-fA-F]"
const LABEL = "[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?"

export const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE}T${TIME}`,
  uuid: `${HEX}{8}-${HEX}{4}-${HEX}{4}-${HEX}{4}-${HEX}{12}`,
  ipv4: `${BYTE}\\.${BYTE}\\.${BYTE}\\.${BYTE}`,
  hostname: `${LABEL}(?:\\.${LABEL}){0,4}`,
  email: `[A-Za-z0-9_+-]{1,24}(?:\\.[A-Za-z0-9_+-]{1,24}){0,2}@${LABEL}(?:\\.${LABEL}){1,4}`,
}
