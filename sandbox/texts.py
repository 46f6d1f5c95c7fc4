"""The texts of the made-up SMS, and the statuses they get, in Calltouch's own Russian words."""

# A # stands for a code of four digits.
LONG = (
    "Дорогие друзья! В честь открытия нового салона дарим каждому гостю подарок, бесплатную"
    " диагностику и скидку 15% на первое посещение.\n\nЖдем вас каждый день с 9:00 до 21:00, без"
    " перерыва и выходных.\nНазовите администратору код #.\n\nПодробности на https://example.com."
)
SERVICE = (
    "Ваш код авторизации: #",
    "Код подтверждения #. Никому его не сообщайте.",
    "# — код для входа в личный кабинет",
    "Ваш заказ №# принят. Мы сообщим, когда он будет готов.",
    "Заказ №# собран и ждет вас в пункте выдачи.\nХраним 5 дней.",
    "Курьер приедет сегодня. Код получения #",
    "Напоминаем: завтра вы записаны на прием. Отменить запись: ответьте 0.",
    "Спасибо за визит! Оцените нас от 1 до 5: https://example.com/r/#",
    "Здравствуйте! Ваша заявка №# передана менеджеру.",
    "Оплата получена. Чек: https://example.com/check/#",
    "Не дозвонились до вас. Перезвоните нам, пожалуйста, доб. #",
    'Ваш договор №# готов к подписанию в "Личном кабинете"',
    "Запись на тест-драйв подтверждена, номер #. До встречи!",
    "Счет выставлен. Пароль от архива: C:\\docs\\#.zip",
    "Ремонт завершен. Автомобиль можно забрать до 20:00.",
    "Уважаемый клиент! Ночью личный кабинет и прием платежей недоступны. Обращение №# открыто.",
)
MAILINGS = (
    "Внимание, скидки!\nТолько сегодня",
    "Внимание, скидки!\nПромокод SALE#\nДействует до конца недели",
    "С днем рождения! 🎉 Дарим 500 бонусов, промокод BDAY#",
    "🔥 Распродажа: скидки до 70% 🔥\r\nhttps://example.com/sale?c=#",
    "На вашем счете # бонусов, часть из них скоро сгорит ⏳",
    "Вы оставили товары в корзине 🛒 Скидка 10% по коду CART#",
    "Flat 20% off this weekend, code #. Reply STOP to opt out.",
    LONG,
)
TEMPLATES = SERVICE + MAILINGS

# smsStatus with its smsStatusDetail, in the order in which an SMS gets them.
QUEUED = ("waiting", "Ожидает отправки")
UNANSWERED = ("waiting", "Статус еще не получен")
PASSED_ON = ("sent", "Передано оператору")
DELIVERED = ("delivered", "Доставлено")
UNDELIVERED = (
    *[("error", "Невозможно доставить")] * 8,
    *[("error", "Неверный номер")] * 6,
    *[("error", "Запрещено")] * 5,
    *[("error", "Недостаточно средств")] * 4,
    *[("error", "Недоступный номер")] * 7,
    *[("sent", "Просрочено")] * 9,
)
# The carrier never said more, or what Calltouch does not know.
UNSETTLED = (*[PASSED_ON] * 6, *[("unknown", "Неизвестный статус")] * 5)
FINAL = (*[DELIVERED] * 206, *UNDELIVERED, *UNSETTLED)
# What becomes of a business's SMS, of its last ones, and of those of a bad campaign.
SETTLED = (*[DELIVERED] * 460, *UNDELIVERED)
RECENT = (*SETTLED, *UNSETTLED)
BAD = (*[DELIVERED] * 20, *UNDELIVERED)
