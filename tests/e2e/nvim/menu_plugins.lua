--- In place of nvim-cmp and blink.cmp, which are on no package index: how they map keys and tell of their menus, as far as it meets us.
--- What each does was read in its sources; the words are ours.
local M = { open = false, selected = false, done = {} }

--- What is mapped for a key now, in all buffers.
local function global(key)
  return vim.iter(vim.api.nvim_get_keymap('i')):find(function(one)
    return one.lhs == key
  end)
end

local function feed(keys, mode)
  vim.api.nvim_feedkeys(vim.keycode(keys), mode, true)
end

--- nvim-cmp: maps over whatever is there in all buffers, each time the user begins to insert; a callback that was there is called,
--- an expression evaluated behind a mapping, other keys fed. Its public functions wait for its sources.
M['nvim-cmp'] = function(handlers)
  local cmp = { n_waits = 0, core = { view = {} } }
  function cmp.core.view:visible()
    return M.open
  end
  function cmp.core.view:get_active_entry()
    return M.selected and {} or nil
  end
  function cmp.visible()
    cmp.n_waits = cmp.n_waits + 1
    return cmp.core.view:visible()
  end
  function cmp.get_active_entry()
    cmp.n_waits = cmp.n_waits + 1
    return cmp.core.view:get_active_entry()
  end
  function cmp.confirm()
    table.insert(M.done, 'confirmed')
  end
  package.loaded['cmp'] = cmp

  local function listen(key, handler)
    local before = global(key)
    if before and before.desc == 'nvim-cmp' then
      return
    end
    local function fallback()
      if before and before.expr == 1 then
        local name = '<Plug>(nvim-cmp-else)'
        vim.keymap.set('i', name, before.callback, { expr = true })
        feed(name, 'im')
      elseif before and before.callback then
        before.callback()
      else
        feed(before and before.rhs or key, before and before.noremap == 0 and 'im' or 'in')
      end
    end
    vim.keymap.set('i', key, function()
      handler(fallback)
    end, { desc = 'nvim-cmp' })
  end
  vim.api.nvim_create_autocmd('InsertEnter', {
    callback = function()
      for key, handler in pairs(handlers(cmp)) do
        listen(key, handler)
      end
      M.has_mapped = true
    end,
  })
end

--- blink.cmp: maps in each buffer; a callback that was there is called later. Its first version maps an expression and looks at
--- each press what was there; its second one looks once, and feeds keys. An event tells when its menu changes.
local function blink(version)
  return function(handlers)
    local menu = {}
    function menu.is_menu_visible()
      return M.open
    end
    function menu.get_selected_item()
      return M.selected and {} or nil
    end
    package.loaded['blink.cmp'] = menu

    local commands = {
      accept = function()
        if M.open and M.selected then
          table.insert(M.done, 'confirmed')
          return true
        end
      end,
      snippet_forward = function() end,
    }
    local function listen(key, words)
      local once = global(key)
      local function fallback()
        local before = version == 1 and global(key) or once
        local rhs = before and before.rhs or key
        if before and before.callback and before.expr ~= 1 then
          return vim.schedule(before.callback)
        elseif before and before.callback then
          rhs = before.callback()
        end
        if version == 1 then
          return vim.keycode(rhs)
        end
        feed(rhs, before and before.noremap == 0 and 'im' or 'in')
      end
      local function pressed()
        for _, word in ipairs(words) do
          if word == 'fallback' then
            return fallback()
          end
          local command = type(word) == 'function' and word or commands[word]
          if command(menu) then
            return
          end
        end
      end
      vim.keymap.set('i', key, pressed, { buffer = true, expr = version == 1, replace_keycodes = false })
    end
    vim.api.nvim_create_autocmd('InsertEnter', {
      once = true,
      callback = function()
        for key, words in pairs(handlers(menu).keymap) do
          listen(key, words)
        end
        M.has_mapped = true
      end,
    })
  end
end
M['blink.cmp 1'], M['blink.cmp 2'] = blink(1), blink(2)

--- The menu opens or closes, an entry of it selected or not.
function M.show(open, selected)
  M.open, M.selected = open, selected
  if package.loaded['blink.cmp'] then
    vim.api.nvim_exec_autocmds('User', { pattern = open and 'BlinkCmpMenuOpen' or 'BlinkCmpMenuClose' })
  end
end

return M
