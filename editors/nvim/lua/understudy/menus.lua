--- Completion menus: Neovim's own, nvim-cmp's and blink.cmp's. While an entry is selected there, ghost text stays away.
local M = {}

-- Whether a menu is open, and whether an entry is selected in it; nil for a plugin that nobody has loaded.

local function native()
  return vim.fn.pumvisible() == 1, vim.fn.complete_info({ 'selected' }).selected >= 0
end

local function nvim_cmp()
  local cmp = package.loaded['cmp']
  if cmp then
    local view = cmp.core.view -- its public functions wait for its sources, at each key
    return view:visible(), view:get_active_entry() ~= nil
  end
end

local function blink_cmp()
  local blink = package.loaded['blink.cmp']
  if blink then
    return blink.is_menu_visible(), blink.get_selected_item() ~= nil
  end
end

--- Whether some menu has an entry selected.
---@return boolean
function M.is_selected()
  for _, menu in ipairs({ native, nvim_cmp, blink_cmp }) do
    local ok, visible, selected = pcall(menu) -- other people's interfaces may change: then there is no menu
    if ok and visible and selected then
      return true
    end
  end
  return false
end

--- Call `changed` when a menu may have opened, closed or moved.
---@param group integer
---@param changed fun()
function M.watch(group, changed)
  local later = vim.schedule_wrap(changed)
  vim.api.nvim_create_autocmd({ 'CompleteChanged', 'CompleteDone' }, { group = group, callback = later })
  vim.api.nvim_create_autocmd('User', { group = group, pattern = 'BlinkCmp*', callback = later })
  -- nvim-cmp's menu moves without an event, as blink.cmp's once did: look again after each key while one of them is there.
  vim.on_key(function()
    if (package.loaded['cmp'] or package.loaded['blink.cmp']) and vim.api.nvim_get_mode().mode:sub(1, 1) == 'i' then
      later()
    end
  end, vim.api.nvim_create_namespace('understudy.menus'))
end

return M
