--- What became of suggestions, as lines to read.
local M = {}

local ROW = '%-20s %7s %9s %7s %6s %17s'

---@param name string
---@param group table n_shown, n_accepted, n_typed, kept_rate, n_chars_saved
local function row(name, group)
  local rate = group.n_shown > 0 and ('%d%%'):format(100 * group.n_accepted / group.n_shown + 0.5) or ''
  local kept = type(group.kept_rate) == 'number' and ('%d%%'):format(100 * group.kept_rate + 0.5) or ''
  return ROW:format(name, group.n_shown, rate, group.n_typed, kept, group.n_chars_saved)
end

---@param groups table<string, table>
---@return string[]
local function sorted_names(groups)
  local names = vim.tbl_keys(groups)
  table.sort(names)
  return names
end

---@param found table what the server's command `understudy.stats` returns
---@return string[]
function M.lines(found)
  local lines = { ROW:format('', 'shown', 'accepted', 'typed', 'kept', 'characters saved'), row('all', found.total) }
  for _, name in ipairs(sorted_names(found.by_language)) do
    lines[#lines + 1] = row(name, found.by_language[name])
  end
  for _, name in ipairs(sorted_names(found.by_adapter)) do
    lines[#lines + 1] = row('adapter ' .. name:sub(1, 12), found.by_adapter[name])
  end
  lines[#lines + 1] = ''
  for _, name in ipairs(sorted_names(found.latency)) do
    local latency = found.latency[name]
    lines[#lines + 1] = ('answered by %s: %d times, p50 %.0f ms, p95 %.0f ms'):format(name, latency.n, latency.p50_ms, latency.p95_ms)
  end
  for _, name in ipairs(sorted_names(found.skips)) do
    lines[#lines + 1] = ('nothing shown, %s: %d times'):format(name:gsub('_', ' '), found.skips[name])
  end
  return lines
end

return M
