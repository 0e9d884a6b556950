--- A small window with text to read; `q` closes it.
local api = vim.api
local M = {}

local WIDEST, HIGHEST = 100, 30

---@return integer columns that text has here
function M.width()
  return math.min(WIDEST, vim.o.columns - 4)
end

---@param lines string[]
---@param width integer
---@return integer rows that the lines take, those wrapped that are longer than `width`
local function n_rows(lines, width)
  local n = 0
  for _, line in ipairs(lines) do
    n = n + math.max(1, math.ceil(vim.fn.strdisplaywidth(line) / width))
  end
  return n
end

---@param title string
---@param lines string[]
function M.show(title, lines)
  local buf = api.nvim_create_buf(false, true)
  api.nvim_buf_set_lines(buf, 0, -1, false, lines)
  vim.bo[buf].modifiable = false
  vim.bo[buf].bufhidden = 'wipe'
  local width = M.width()
  local height = math.max(1, math.min(HIGHEST, n_rows(lines, width), vim.o.lines - 4))
  api.nvim_open_win(buf, true, {
    relative = 'editor',
    row = math.floor((vim.o.lines - height) / 2) - 1,
    col = math.floor((vim.o.columns - width) / 2),
    width = width,
    height = height,
    style = 'minimal',
    border = 'rounded',
    title = ' ' .. title .. ' ',
  })
  vim.keymap.set('n', 'q', '<Cmd>close<CR>', { buffer = buf, nowait = true })
end

return M
