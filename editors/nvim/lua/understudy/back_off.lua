--- How long to wait before a language server that died is started again, and when to leave it alone.
local M = {}

M.FIRST_WAIT_MS, M.LONGEST_WAIT_MS = 500, 30000
M.WELL_AFTER_MS = 60000 -- a server that lived this long was well: its death starts a new count
M.MOST_DEATHS = 6

local deaths = {} ---@type table<string, integer> by project

--- The server of a project died after so many milliseconds.
---@param project string
---@param lived_ms number
---@return integer? wait_ms until the next start; nil: it died too often, leave it
function M.died(project, lived_ms)
  local n_before = lived_ms < M.WELL_AFTER_MS and deaths[project] or 0
  deaths[project] = n_before + 1
  if deaths[project] >= M.MOST_DEATHS then
    return nil
  end
  return math.min(M.FIRST_WAIT_MS * 2 ^ n_before, M.LONGEST_WAIT_MS)
end

--- The user asked for a start: what was before is forgotten.
function M.reset()
  deaths = {}
end

return M
