-- The one script of wrk for everybody: bodies from a file, one a line, in turn; answers that are no 2xx are counted.
local bodies, at = {}, 0
local threads = {}
first, wrong = "", 0

function setup(thread) table.insert(threads, thread) end

function init(args)
  for line in io.lines(args[1]) do bodies[#bodies + 1] = line end
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  at = at % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[at])
end

function response(status, headers, body)
  if status < 200 or status > 299 then
    wrong = wrong + 1
    if first == "" then first = status .. " " .. body:sub(1, 200) end
  end
end

local function quoted(text) return '"' .. text:gsub('[%c"\\]', " ") .. '"' end

function done(summary, latency)
  local errors = summary.errors
  local missed, said = errors.connect + errors.read + errors.write + errors.timeout, ""
  for _, thread in ipairs(threads) do
    missed = missed + thread:get("wrong")
    if said == "" then said = thread:get("first") end
  end
  print(string.format('RESULT {"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "wrong": %d, "first": %s}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, missed,
    quoted(said)))
end
