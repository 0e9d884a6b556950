--- A small window with text to read; `q` closes it.
local api = vim.api
local M = {}

local WIDEST, HIGHEST = 100, 30

---@param title string
---@param lines string[]
function M.show(title, lines)
  local buf = api.nvim_create_buf(false, true)
  api.nvim_buf_set_lines(buf, 0, -1, false, lines)
  vim.bo[buf].modifiable = false
  vim.bo[buf].bufhidden = 'wipe'
  local width = math.min(WIDEST, vim.o.columns - 4)
  local height = math.max(1, math.min(HIGHEST, #lines, vim.o.lines - 4))
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
