"""What the rule-based router knows: phrases that give a category away, English and Chinese, one table.

A weight is a log-odds: 4 decides alone, 3 decides unless something speaks against it, 1 to 2 is a hint.
Patterns meet text that is NFKC, lower case, with single spaces and without answer formats (``BOILERPLATE``).
They are kept linear: no nested repetition, every gap bounded and free of sentence ends.
"""

# ruff: noqa: E501 - a table reads best with one rule to a line

from __future__ import annotations

OBJECT = "object identification"
ATTRIBUTE = "attribute / breed identification"
TEXT = "text / symbol recognition"
SCENE = "scene understanding"
SPATIAL = "spatial relations"
COUNTING = "counting"
ACTION = "action / interaction"
INTENTION = "intention / function"

BOILERPLATE: tuple[str, ...] = (
    r"<[^<>\s]{1,30}>",  # <image>, <|im_end|>
    r"(?m)^\s*\(?[a-h][.):]\s.*$",  # multiple choice
    r"please (?:answer|respond|reply)[^.?!\n]{0,80}",
    r"answer (?:the question|with|in|using|yes or no)[^.?!\n]{0,80}",
    r"(?:请|只需?)(?:直接)?(?:用|回答)[^。?!\n]{0,40}(?:回答|作答|即可|选项|是或否)?",
)
"""Removed before matching: placeholders, options, and orders about the answer's form ("a single word or
phrase")."""

_PICTURE = r"(?:image|picture|photo|photograph|pic|scene|screenshot)"
_THING = r"(?:animal|object|item|thing|fruit|vegetable|vehicle|food|dish|plant|tool|instrument|insect|creature|furniture|device|appliance|toy|gadget|landmark|building)s?"
_BRED = r"(?:dog|cat|bird|horse|flower|tree|car|truck|plane|airplane|fish|cheese|beer|wine|hat|shirt|shoe|dress|fabric|wood)s?"
_PICTURE_ZH = r"(?:图|照片|画面|相片|画)(?:片|像|里|中|上|内|面|中间)*"

RULES: tuple[tuple[str, float, str], ...] = (
    # --- counting
    (COUNTING, 5.0, r"\bhow many\b"),
    (COUNTING, 4.0, r"\b(?:count|tally)\b(?! on\b)"),
    (COUNTING, 4.0, r"\b(?:total |exact )?number of\b"),
    (COUNTING, 3.5, r"\b(?:are|is) there (?:exactly |at least |more than |fewer than |only )(?:one|two|three|four|five|six|\d+)\b"),
    (COUNTING, 5.0, r"(?:多少|几|幾)(?:个|個|只|隻|条|條|张|張|辆|輛|本|匹|头|头牛|棵|朵|杯|块|位|名|人|把|盏|扇|座|艘|架|双|件|种|支|根|层|样|处|颗|瓶|碗|台|幅|行|架子)"),
    (COUNTING, 4.0, r"数一数|数一下|数量|总数|一共有|总共有|共有几|计数"),
    # --- text and symbols
    (TEXT, 5.0, r"\bwho (?:wrote|is the author|authored|published)\b"),
    (TEXT, 5.0, r"\b(?:what|which)(?:'s| is| are| was| words? (?:is|are))? (?:\w+ ){0,3}(?:written|printed|spelled|engraved|inscribed)\b"),
    (TEXT, 5.0, r"\b(?:what|which)[^.?!]{0,60}\b(?:say|says|saying|spell|spells|read|reads)\b"),
    (TEXT, 4.0, r"\b(?:read|transcribe|ocr|translate|extract)\b[^.?!]{0,40}\b(?:text|word|words|sign|label|letters?|numbers?|plate|caption|title|line|writing|sentence)\b"),
    (TEXT, 4.0, r"\b(?:license|licence|number) plate\b|\bphone number\b|\bserial number\b|\bjersey number\b|\bbar ?code\b"),
    (TEXT, 4.5, r"\b(?:what|which)\b[^.?!]{0,40}\b(?:numbers?(?! of\b)|word|words|letter|letters|text|digits?|symbols?|logos?|initials|slogan|website|url|date|year|score)\b[^.?!]{0,30}\b(?:on|in|at|of|shown|displayed|appears?|visible)\b"),
    (TEXT, 4.0, r"\b(?:title|name|author) of (?:the|this|that) (?:book|movie|film|album|magazine|newspaper|store|shop|street|restaurant|hotel|company|song|poster|ship|boat)\b"),
    (TEXT, 4.0, r"\b(?:what|which) (?:is the )?(?:brand|logo|company)\b"),
    (TEXT, 4.0, r"\bwhat time\b[^.?!]{0,30}\b(?:clock|watch|display|shown)\b|\btime (?:is )?shown\b"),
    (TEXT, 4.0, r"\bhow much\b[^.?!]{0,30}\bcosts?\b|\b(?:what is|what's) the price\b"),
    (TEXT, 3.0, r"\b(?:street|stop|road|traffic) sign\b[^.?!]{0,20}\bmean\b|\bwhat (?:does|is) (?:this|the|that) symbol\b"),
    (TEXT, 5.0, r"写(?:着|的是|了|有)?(?:什么|啥|哪些)|写着|印着|刻着|谁写的|作者是谁"),
    (TEXT, 4.0, r"(?:读|念|识别|提取|翻译|转写)(?:出|一下|取)?[^。?!]{0,16}(?:文字|字|文本|内容|单词|数字|标签|号码)"),
    (TEXT, 4.5, r"车牌|书名|店名|路名|站名|标语|口号|商标|品牌|牌子是什么|什么牌子|电话号码|条形码|号码是|价格是|多少钱|显示的时间"),
    (TEXT, 4.0, r"(?:什么|哪些|哪个)(?:文字|字|字母|数字|单词|符号|标志|标识|logo|年份|日期)"),
    # --- intention and function
    (INTENTION, 4.5, r"\b(?:used for|use for|usage|purpose|function of|functions? does|meant to|intended|designed to|made for|good for|useful for)\b"),
    (INTENTION, 5.5, r"\bwhy\b|\bhow come\b|\bfor what reason\b"),
    (INTENTION, 4.0, r"\bwhat (?:can|could|would|do|does) (?:you|one|i|we|people|someone|anyone|it|this|that|these) (?:\w+ ){0,2}do(?: with)?\b"),
    (INTENTION, 4.0, r"\b(?:trying|going|about|planning|preparing|likely) to (?:do|happen|achieve|accomplish)\b|\bhappen next\b|\bdo next\b|\bintention\b|\bintend\b|\bgoal\b"),
    (INTENTION, 3.5, r"\bhow (?:do|does|can|would|should) (?:you|i|one|we|this|it|people) (?:use|operate|work)\b|\bwhat is the use of\b|\bsuitable for\b"),
    (INTENTION, 5.5, r"为什么|为何|为啥|什么原因|用途|用来|用于|做什么用|干什么用|有什么用|目的|作用|功能|意图|打算|想要做|想做|接下来|怎么用|如何使用|适合"),
    # --- action and interaction
    (ACTION, 4.5, r"\b(?:doing|happening|going on)\b"),
    (ACTION, 4.0, r"\bwhat (?:sport|game|activity|activities|action|exercise|trick|gesture|instrument is \w+ \w+ playing)\b|\bwhat kind of (?:sport|activity|game)\b"),
    (ACTION, 3.5, r"\b(?:what|who|whom|which \w+|is|are|does) [^.?!]{0,40}\b(?:playing|holding|eating|riding|throwing|catching|carrying|drinking|running|jumping|walking|talking|looking at|pulling|pushing|kicking|chasing|hugging|cooking|reading|swimming|sleeping|dancing|feeding|petting|fighting|flying|climbing|sitting down|waving|surfing|skiing|pointing at|interacting)\b"),
    (ACTION, 3.5, r"\binteract(?:s|ing|ion)?\b|\bactivity\b|\bperforming\b"),
    (ACTION, 4.5, r"在?(?:做|干|忙|玩)(?:些|着)?(?:什么|啥)(?!用|的|成)|什么事"),
    (ACTION, 3.5, r"(?:什么|哪种|何种)(?:运动|动作|活动|游戏|比赛|姿势|手势|乐器)|发生了?什么|互动"),
    (ACTION, 3.5, r"(?:正在|在)(?:玩|吃|喝|骑|拿|跑|跳|走|看|抱|踢|打|扔|推|拉|追|睡|游|唱|弹|画|说|握)"),
    (ACTION, 3.0, r"(?:手里|手上|手中)?(?:拿着|抱着|骑着|牵着|吃着|玩着|看着|握着|举着|背着)[^。?!]{0,6}(?:什么|谁|啥|吗)"),
    # --- spatial relations
    (SPATIAL, 3.5, r"\bwhere(?:'s| is| are| was| were| does| do| can)\b"),
    (SPATIAL, 4.0, r"\b(?:what|who|which|is|are|does|do)\b[^.?!]{0,50}\b(?:to the left|to the right|left of|right of|behind|in front of|next to|beside|beneath|underneath|above|below|under|on top of|between|near|inside|adjacent to|across from)\b"),
    (SPATIAL, 5.0, r"\b(?:closest|nearest|farthest|furthest|closer|nearer|farther|further|leftmost|rightmost|topmost)\b"),
    (SPATIAL, 4.0, r"\b(?:left|right|top|bottom)(?:[- ]hand)?(?: side)? or (?:\w+ ){0,3}(?:left|right|top|bottom)\b|\b(?:which|what) (?:side|direction|corner)\b"),
    (SPATIAL, 3.5, r"\b(?:relative )?(?:position|location|orientation|distance|arrangement)\b|\bspatial\b|\bfacing\b"),
    (SPATIAL, 1.5, r"\b(?:on|at|in|from) the (?:left|right|top|bottom|middle|center|centre|corner|background|foreground)\b"),
    (SPATIAL, 4.0, r"(?:在|位于)(?:图\S{0,3}的?|\S{0,6}的?)?(?:哪里|哪儿|哪边|哪一边|哪个位置|哪个方向|哪一侧|什么位置|什么方向|何处|哪个角落)"),
    (SPATIAL, 4.0, r"(?:左边|右边|左侧|右侧|上面|上方|下面|下方|前面|前方|后面|后方|旁边|中间|之间|里面|背后|身后|对面|左|右)(?:的)?(?:是|有|放|站|坐|停)(?:着|了)?(?:什么|谁|哪|啥|一|没有)"),
    (SPATIAL, 4.0, r"在[^。?!,]{1,12}(?:左边|右边|左侧|右侧|上面|上方|下面|下方|前面|后面|旁边|之间|里面|左|右)(?:还是|吗|么)"),
    (SPATIAL, 4.0, r"(?:最近|最远|最左|最右|更近|更远|离[^。?!]{1,12}(?:近|远)|左还是|朝哪|面向|面朝|方位|相对位置|位置关系)"),
    (SPATIAL, 1.5, r"左边|右边|左侧|右侧|上方|下方|旁边|后面|前面|背景|前景|角落"),
    # --- attributes and breeds
    (ATTRIBUTE, 4.5, r"\b(?:what|which)(?:'s| is| are)? (?:the |its |his |her )?(?:\w+ )?(?:colou?rs?|breeds?|materials?|shapes?|textures?|patterns?|species|gender|age|emotions?|mood|hairstyles?|fabric)\b"),
    (ATTRIBUTE, 3.5, r"\b(?:colou?r|breed|material|shape|texture|pattern|species|size|condition|expression)s? (?:of|is|are|does|do)\b|\bmade (?:out )?of\b|\bhow (?:old|big|tall|large|long|heavy|wide)\b"),
    (ATTRIBUTE, 4.0, rf"\b(?:what|which) (?:kind|type|sort|variety|model|make|style|breed)s? of {_BRED}\b|\bwhat (?:model|make) (?:is|of)\b"),
    (ATTRIBUTE, 3.0, r"\b(?:what|which) (?:kind|type|sort|style) of\b"),
    (ATTRIBUTE, 3.5, r"\bwearing\b|\blook(?:s|ing)? (?:happy|sad|angry|old|new|young|tired|clean|dirty)\b"),
    (ATTRIBUTE, 4.0, r"^(?:is|are) (?:the|this|that|his|her|its|these|those) (?:\w+ ){1,3}(?:red|blue|green|yellow|black|white|brown|orange|pink|purple|gray|grey|wooden|metal|plastic|round|square|striped|open|closed|empty|full|wet|dry|ripe|old|young|tall|short|long|big|small|large|happy|sad|broken|clean|dirty)\??$"),
    (ATTRIBUTE, 4.5, r"(?:什么|哪种|哪些|何种|啥)(?:样的)?(?:颜色|色|材质|材料|质地|形状|品种|花纹|图案|表情|发型|款式|型号|种类|大小|性别|心情|情绪)"),
    (ATTRIBUTE, 3.5, r"(?:颜色|材质|材料|形状|品种|表情|款式|型号|大小|质地|性别|年龄)(?:是|有)?(?:什么|怎样|怎么样|如何|哪|多)|用什么(?:材料)?做|什么做的|多大年纪|多高|多大|多少岁|几岁"),
    (ATTRIBUTE, 3.5, r"穿着?(?:什么|哪|的是)|戴着?(?:什么|眼镜|帽子)|是(?:红|蓝|绿|黄|黑|白|棕|橙|粉|紫|灰|圆|方|木|金属|塑料)\S{0,2}的?(?:吗|么|还是)"),
    # --- scene understanding: presence, place, weather, whole-image descriptions
    (SCENE, 4.5, r"\b(?:is|are) there (?:an? |any |some )?(?!(?:exactly|at least|more than|fewer than|only)\b)"),
    (SCENE, 4.0, rf"\b(?:does|do) (?:this|the|these) {_PICTURE}s? (?:contain|have|show|include|depict)\b|\bcan you see (?:an? |any )"),
    (SCENE, 4.0, rf"\b(?:describe|caption|summari[sz]e|explain)\b[^.?!]{{0,30}}\b{_PICTURE}\b|\bwhat (?:does|do) (?:this|the|these) {_PICTURE}s? (?:show|depict)\b"),
    (SCENE, 5.5, rf"\bwhere (?:was|is|were) (?:this|the|that) {_PICTURE}(?: \w+)? ?(?:taken|shot|captured)?|\bwhere (?:are we|was this taken|is this taken|is this place|is this)\b"),
    (SCENE, 4.0, r"\bweather\b|\bindoors?\b|\boutdoors?\b|\btime of (?:the )?day\b|\bwhat season\b|\b(?:day|night)[ -]?time\b|\bday or night\b|\b(?:is it|does it look) (?:sunny|raining|rainy|snowing|cloudy|dark|windy|daytime|winter|summer)\b"),
    (SCENE, 4.0, r"\bwhat (?:kind of |type of |sort of )?(?:room|place|scene|setting|environment|location|venue|city|country|event|landscape|occasion)\b|\bwhich (?:room|place|city|country|scene|season)\b"),
    (SCENE, 3.0, rf"\b(?:is|are) (?:an? |any )[^.?!]{{1,40}} in (?:the|this) {_PICTURE}\b|\batmosphere\b|\bmain (?:theme|topic|subject)\b"),
    (SCENE, 4.5, rf"(?:有没有|是否(?:存在|有|包含|出现)|存在[^。?!]{{1,12}}(?:吗|么))|{_PICTURE_ZH}有[^几多什哪谁。?!,]{{1,12}}(?:吗|么)|能看到[^什。?!]{{1,12}}(?:吗|么)"),
    (SCENE, 4.0, rf"(?:描述|概括|介绍|说明|总结)(?:一下)?[^。?!]{{0,10}}(?:图|照片|画面|场景|相片)|{_PICTURE_ZH}(?:展示|描绘|表现)了?什么|这是什么场景"),
    (SCENE, 5.0, r"(?:天气|季节|室内|室外|户外|白天|晚上|夜晚|黄昏|场景|氛围|环境)"),
    (SCENE, 5.5, r"(?:哪里|哪儿|哪个城市|哪个国家|什么地方|何处|什么房间|哪个房间)(?:拍|的)|什么(?:地方|房间|场合|场所|城市)|拍摄地|在哪(?:里|儿|个城市|个国家)?拍"),
    # --- object identification
    (OBJECT, 4.0, rf"\bwhat(?:'s| is| are|s) (?:this|that|these|those|it|shown|depicted)(?: {_THING}| one)?(?: called| here)?(?: (?:in|on|shown in) (?:the|this) {_PICTURE})?(?: ?[?.!,]|$)"),
    (OBJECT, 4.0, rf"\b(?:what|which) (?:kind of |type of |sort of )?{_THING}\b"),
    (OBJECT, 2.0, rf"\b(?:what|which) (?:kind|type|sort) of {_THING}\b"),
    (OBJECT, 4.0, r"\b(?:identify|recogni[sz]e|name|classify)\b[^.?!]{0,20}\b(?:the|this|these|that|main|all|any)\b|\bwhat (?:is|are) (?:the|these|this|those) (?:main |primary |central )?(?:objects?|items?|things?)\b"),
    (OBJECT, 3.5, rf"^is (?:this|that|it) an? [^.?!]{{1,30}}\?|\bwho (?:is|are) (?:this|that|these|the (?:man|woman|person|people|actor|celebrity))(?: in (?:the|this) {_PICTURE})?\??$"),
    (OBJECT, 4.0, rf"\bwhat (?:is|are|objects? are|things? are|do you see) (?:shown |visible )?in (?:the|this) {_PICTURE}\b|\bwhat (?:do|can) you see\b"),
    (OBJECT, 4.0, r"(?:这|那|它|图中|图里|图片中|照片里)(?:个|里|种|只|些|张图)?(?:的)?(?:到底)?(?:是|叫)(?:一个|一只|一种)?(?:什么|啥)(?=[呢呀啊?!。,]|东西|动物|物体|物品|水果|植物|车|花|鸟|食物|乐器|工具|建筑|$)"),
    (OBJECT, 4.0, r"(?:什么|哪种|哪一种|何种|啥)(?:动物|东西|物体|物品|水果|蔬菜|植物|食物|交通工具|工具|家具|电器|昆虫|鸟|花|菜|建筑)"),
    (OBJECT, 3.5, r"(?:识别|认出|辨认|说出)[^。?!文字数]{0,12}(?:物体|物品|东西|动物|主体|对象|名称)|叫什么(?:名字|名称)?|(?:这|那|它)(?:个|只)?是(?:一|不是)\S{1,8}吗"),
    (OBJECT, 3.5, rf"{_PICTURE_ZH}(?:都)?(?:有|是)(?:什么|哪些(?:东西|物体|物品|动物)?)|(?:你)?(?:看到|看见)了?(?:什么|哪些)"),
)  # fmt: skip
