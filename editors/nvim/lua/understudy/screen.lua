--- Draws ghost text: an extmark with virtual text at the cursor and virtual lines below it.
local api = vim.api
local M = {}

local namespace = api.nvim_create_namespace('understudy')
local GHOST, HINT = 'UnderstudyGhost', 'UnderstudyHint'
local drawn ---@type integer? the buffer that has something drawn

--- Tabs as the blanks that they would be; virtual text knows no tab stops.
---@param text string
---@param column integer the screen column where it begins
local function expand_tabs(text, column)
  local shown = ''
  for piece, tab in text:gmatch('([^\t]*)(\t?)') do
    shown = shown .. piece
    if tab ~= '' then
      local at = column + vim.fn.strdisplaywidth(shown, column)
      shown = shown .. (' '):rep(vim.fn.strdisplaywidth('\t', at))
    end
  end
  return shown
end

--- The part of the first line that lies over covered text, and the part that pushes aside what follows.
---@param first string
---@param covered string
---@return string over
---@return string aside
local function split_cover(first, covered)
  if covered == '' then
    return '', first
  end
  if vim.endswith(first, covered) then
    return '', first:sub(1, #first - #covered) -- what is there already stays, and shows itself
  end
  local n_chars = vim.fn.strchars(covered)
  return vim.fn.strcharpart(first, 0, n_chars), vim.fn.strcharpart(first, n_chars)
end

--- Draw `rest` at a place, in place of all that was drawn before.
---@param buf integer
---@param row integer
---@param col integer
---@param rest string
---@param covered string the text after the cursor that accepting replaces
---@param hint string? shown behind the last line
function M.draw(buf, row, col, rest, covered, hint)
  M.clear()
  drawn = buf
  local lines = vim.split(rest, '\n', { plain = true })
  local over, aside = split_cover(lines[1], #lines == 1 and covered or '')
  local column = vim.fn.virtcol({ row + 1, col }) -- of the byte before the cursor, so it counts from 1 what is left of it
  local below = {}
  for i = 2, #lines do
    below[#below + 1] = { { expand_tabs(lines[i], 0), GHOST } }
  end
  local first = { { expand_tabs(aside, column), GHOST } }
  if hint then
    table.insert(below[#below] or first, { hint, HINT })
  end
  if over ~= '' then
    api.nvim_buf_set_extmark(buf, namespace, row, col, { virt_text = { { over, GHOST } }, virt_text_pos = 'overlay' })
  end
  api.nvim_buf_set_extmark(buf, namespace, row, col + (over ~= '' and #covered or 0), {
    virt_text = first,
    virt_text_pos = 'inline',
    virt_lines = #below > 0 and below or nil,
    hl_mode = 'combine',
  })
end

--- Take everything off the screen.
function M.clear()
  if drawn and api.nvim_buf_is_valid(drawn) then
    api.nvim_buf_clear_namespace(drawn, namespace, 0, -1)
  end
  drawn = nil
end

--- Our colours, by name; a colour scheme may define them.
function M.set_highlights()
  local muted = vim.fn.hlexists('ComplHint') == 1 and 'ComplHint' or 'Comment'
  api.nvim_set_hl(0, GHOST, { default = true, link = muted })
  api.nvim_set_hl(0, HINT, { default = true, link = 'NonText' })
end

M.namespace = namespace

return M
